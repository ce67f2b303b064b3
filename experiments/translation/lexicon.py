"""The words of the generated corpus: German with its inflection, English beside it.

One word a line, columns divided by blanks, "_" for a blank inside a column, "-" for nothing.
Nearly every German word has one English one, so that a German sentence has one translation; where
it has two (groß: tall, big) the noun beside it decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Noun(NamedTuple):
    """A noun; a weak one (der Junge, den Jungen) has its plural form in all cases but one."""

    german: str
    gender: str
    """m, f or n"""
    german_plural: str
    weak: bool
    english: str
    english_plural: str
    kinds: tuple[str, ...]
    """What can be done with it: the verbs name these."""


class Place(NamedTuple):
    """A noun with its prepositions: at it (dative), towards it, at it in English."""

    noun: Noun
    at: str
    towards: str
    english_at: str


class Verb(NamedTuple):
    """A verb; `prefix` comes off, `stem` is that of du and er."""

    prefix: str
    infinitive: str
    stem: str
    participle: str
    auxiliary: str
    """haben or sein"""
    english: str
    english_past: str
    dative: tuple[str, ...]
    """The kinds that its dative object may be of; none: it has no such object."""
    accusative: tuple[str, ...]
    towards: bool
    """A verb of motion, with a goal."""
    active: bool
    """Can be done gladly, slowly and right now."""


class Adjective(NamedTuple):
    """`stem` takes the endings: teuer, ein teures Buch."""

    german: str
    stem: str
    english: str


_NOUNS = {
    "person": """
        Mann m Männer man men | Frau f Frauen woman women | Kind n Kinder child children
        Junge* m Jungen boy | Mädchen n Mädchen girl | Lehrer m Lehrer teacher
        Vater m Väter father | Mutter f Mütter mother | Bruder m Brüder brother
        Schwester f Schwestern sister | Sohn m Söhne son | Tochter f Töchter daughter
        Onkel m Onkel uncle | Tante f Tanten aunt | Freund m Freunde friend
        Nachbar* m Nachbarn neighbor | Arzt m Ärzte doctor | Student* m Studenten student
        Bauer* m Bauern farmer | Koch m Köche cook | Königin f Königinnen queen
        Polizist* m Polizisten policeman policemen | Bäcker m Bäcker baker | Gast m Gäste guest
        Kellner m Kellner waiter | Sängerin f Sängerinnen singer | Baby n Babys baby
        Großmutter f Großmütter grandmother | Künstlerin f Künstlerinnen artist""",
    "animal": """
        Hund m Hunde dog | Katze f Katzen cat | Pferd n Pferde horse | Kuh f Kühe cow
        Vogel m Vögel bird | Maus f Mäuse mouse mice | Schaf n Schafe sheep sheep
        Ente f Enten duck | Hase* m Hasen rabbit | Schwein n Schweine pig""",
    "food": """
        Apfel m Äpfel apple | Birne f Birnen pear | Ei n Eier egg | Banane f Bananen banana
        Kartoffel f Kartoffeln potato potatoes | Tomate f Tomaten tomato tomatoes
        Suppe f Suppen soup | Kuchen m Kuchen cake | Keks m Kekse cookie | Salat m Salate salad
        Brötchen n Brötchen roll | Wurst f Würste sausage | Kirsche f Kirschen cherry""",
    "drink": """
        Kaffee m - coffee | Tee m - tea | Milch f - milk | Wasser n - water | Saft m - juice
        Bier n - beer | Wein m - wine""",
    "text": """
        Buch n Bücher book | Zeitung f Zeitungen newspaper | Brief m Briefe letter
        Roman m Romane novel | Gedicht n Gedichte poem | Geschichte f Geschichten story""",
    "thing": """
        Schlüssel m Schlüssel key | Tasche f Taschen bag | Lampe f Lampen lamp | Ball m Bälle ball
        Messer n Messer knife knives | Teller m Teller plate | Glas n Gläser glass
        Flasche f Flaschen bottle | Regenschirm m Regenschirme umbrella | Stuhl m Stühle chair
        Bild n Bilder picture | Geschenk n Geschenke gift | Blume f Blumen flower
        Korb m Körbe basket | Kamera f Kameras camera | Spiegel m Spiegel mirror""",
    "machine": """
        Auto n Autos car | Fahrrad n Fahrräder bicycle | Computer m Computer computer
        Maschine f Maschinen machine | Radio n Radios radio radios | Boot n Boote boat
        Motor m Motoren engine | Uhr f Uhren clock""",
    "opening": """
        Tür f Türen door | Fenster n Fenster window | Schrank m Schränke closet | Tor n Tore gate
        Kiste f Kisten box | Koffer m Koffer suitcase""",
    "clothing": """
        Mantel m Mäntel coat | Hemd n Hemden shirt | Hut m Hüte hat | Kleid n Kleider dress
        Rock m Röcke skirt | Schuh m Schuhe shoe | Jacke f Jacken jacket""",
}

_PLACES = """
    Park m Parks park in in in | Garten m Gärten garden in in in | Wald m Wälder forest in in in
    Küche,room f Küchen kitchen in in in | Zimmer,room n Zimmer room in in in
    Büro,room n Büros office in in in | Keller,room m Keller basement in in in
    Schule,building f Schulen school in in at | Kirche,building f Kirchen church in in in
    Haus,building n Häuser house in in in | Turm,building m Türme tower in in in
    Museum,building n Museen museum in in in | Hotel,building n Hotels hotel in in in
    Brücke,building f Brücken bridge auf auf on | Markt m Märkte market auf auf at
    Bahnhof m Bahnhöfe station an zu at | Flughafen m Flughäfen airport an zu at
    Strand m Strände beach an an at | Fluss m Flüsse river an zu by | See m Seen lake an an by
    Stadt f Städte city in in in | Dorf n Dörfer village in in in
    Bibliothek f Bibliotheken library in in in | Restaurant n Restaurants restaurant in in in
    Krankenhaus n Krankenhäuser hospital in in in | Geschäft n Geschäfte store in in in"""

# infinitive, stem of du and er, participle ("+" with sein), English, its past, objects: @dative,
# accusative, ">" towards a place; "~" after them: not active
_VERBS = """
    schlafen schläf geschlafen sleep slept - | arbeiten - gearbeitet work - -
    lachen - gelacht laugh - - | weinen - geweint cry - - | singen - gesungen sing sang -
    tanzen - getanzt dance - - | schwimmen - +geschwommen swim swam - | spielen - gespielt play - -
    warten - gewartet wait - - | lernen - gelernt study - - | sitzen - gesessen sit sat -
    bleiben - +geblieben stay - ~ | auf|stehen - +aufgestanden get_up got_up ~
    ein|schlafen schläf +eingeschlafen fall_asleep fell_asleep ~
    fern|sehen sieh ferngesehen watch_television watched_television -
    an|kommen - +angekommen arrive - ~ | ein|kaufen - eingekauft go_shopping went_shopping -
    auf|wachen - +aufgewacht wake_up woke_up ~ | essen iss gegessen eat ate food
    trinken - getrunken drink drank drink
    kaufen - gekauft buy bought food,text,thing,clothing,machine | lesen lies gelesen read read text
    schreiben - geschrieben write wrote text
    suchen - gesucht look_for looked_for thing,animal,text
    finden - gefunden find found thing,animal,text~
    sehen sieh gesehen see saw person,animal,building~ | reparieren - repariert repair - machine
    tragen träg getragen carry - thing | besuchen - besucht visit - person
    lieben - geliebt love - person,animal~ | kennen - gekannt know knew person~
    fragen - gefragt ask - person | füttern - gefüttert feed fed animal
    waschen wäsch gewaschen wash - clothing | putzen - geputzt clean - opening,machine
    zeichnen - gezeichnet draw drew animal,building | öffnen - geöffnet open - opening
    schließen - geschlossen close - opening | auf|machen - aufgemacht open - opening
    zu|machen - zugemacht close - opening | an|rufen - angerufen call - person
    ein|laden läd eingeladen invite - person | ab|holen - abgeholt pick_up picked_up person
    weg|werfen wirf weggeworfen throw_away threw_away thing
    mit|bringen - mitgebracht bring_along brought_along thing,food,text
    an|ziehen - angezogen put_on put_on clothing | auf|räumen - aufgeräumt tidy_up tidied_up room
    aus|probieren - ausprobiert try_out tried_out machine
    vor|bereiten - vorbereitet prepare - food | ein|packen - eingepackt pack - thing,clothing,text
    malen - gemalt paint - animal,building | verlieren - verloren lose lost thing,text~
    vergessen vergiss vergessen forget forgot thing,text~
    brauchen - gebraucht need - thing,machine~ | verkaufen - verkauft sell sold food,machine,thing
    treffen triff getroffen meet met person | hören - gehört hear heard animal,person~
    verstehen - verstanden understand understood person~ | bauen - gebaut build built building
    stehlen stiehl gestohlen steal stole thing | verstecken - versteckt hide hid thing
    holen - geholt fetch - thing,text | beobachten - beobachtet watch - animal,person
    helfen hilf geholfen help - @person | danken - gedankt thank - @person
    antworten - geantwortet answer - @person | folgen - +gefolgt follow - @person,animal
    zu|hören - zugehört listen_to listened_to @person | vertrauen - vertraut trust - @person~
    geben gib gegeben give gave @person+thing,food,text
    zeigen - gezeigt show - @person+thing,building
    schicken - geschickt send sent @person+text,thing
    bringen - gebracht bring brought @person+food,text
    leihen - geliehen lend lent @person+machine,text
    an|bieten - angeboten offer - @person+food,thing | gehen - +gegangen go went >
    fahren fähr +gefahren drive drove > | laufen läuf +gelaufen run ran >
    reisen - +gereist travel - > | kommen - +gekommen come came >
    reiten - +geritten ride rode >"""

_THAT = """
    wissen - gewusst know knew ~ | glauben - geglaubt believe - ~ | hoffen - gehofft hope - ~
    sagen - gesagt say said ~ | träumen - geträumt dream - ~"""

_TO = """
    versuchen - versucht try - ~ | hoffen - gehofft hope - ~ | beginnen - begonnen begin began ~
    versprechen versprich versprochen promise - ~ | planen - geplant plan planned ~
    vergessen vergiss vergessen forget forgot ~"""

_ADJECTIVES = {
    "person": """alt old, jung young, groß tall, klein small, freundlich friendly, müde tired,
        glücklich happy, traurig sad, stark strong, klug clever, reich rich, arm poor, nett nice,
        krank sick, faul lazy, höflich polite, mutig brave, hungrig hungry""",
    "animal": """groß big, klein small, schwarz black, weiß white, braun brown, hungrig hungry,
        alt old, jung young, schön beautiful, müde tired""",
    "food": "frisch fresh, gut good, groß big, klein small, billig cheap, teuer expensive",
    "drink": "heiß hot, kalt cold, frisch fresh, gut good, billig cheap, teuer expensive",
    "text": """lang long, kurz short, interessant interesting, langweilig boring, alt old, neu new,
        lustig funny, schön beautiful""",
    "thing": """neu new, alt old, rot red, blau blue, grün green, schwer heavy, leicht light,
        groß big, klein small, billig cheap, teuer expensive, schön beautiful, schmutzig dirty""",
    "machine": "neu new, alt old, rot red, groß big, klein small, billig cheap, teuer expensive",
    "opening": "neu new, alt old, groß big, klein small, blau blue, grün green, schwer heavy",
    "clothing": """neu new, alt old, rot red, blau blue, grün green, schwarz black, weiß white,
        warm warm, schön beautiful, schmutzig dirty, teuer expensive""",
    "place": "groß big, klein small, alt old, neu new, schön beautiful, ruhig quiet, dunkel dark",
}


def plural(word: str) -> str:
    """An English noun's regular plural, and a verb's third person."""
    if re.search("(s|x|ch|sh|o)$", word):
        return word + "es"
    return re.sub("([^aeiou])y$", r"\1ie", word) + "s"


def past(verb: str) -> str:
    """An English verb's regular past."""
    return re.sub("([^aeiou])y$", r"\1i", verb).removesuffix("e") + "ed"


def progressive(verb: str) -> str:
    """An English verb's -ing form; only the first word changes: getting up."""
    first, *rest = verb.split()
    first = re.sub("^([^aeiou]*[aeiou])([^aeiouwxy])$", r"\1\2\2", first)
    first = first if first.endswith("ee") else first.removesuffix("e")
    return " ".join([first + "ing", *rest])


def _noun(columns: list[str], kinds: tuple[str, ...]) -> Noun:
    german, gender, german_plural, english, *irregular = columns
    english_plural = irregular[0] if irregular else plural(english)
    weak = german.endswith("*")
    return Noun(german.strip("*"), gender, german_plural, weak, english, english_plural, kinds)


def _place(columns: list[str]) -> Place:
    names, gender, german_plural, english, *prepositions = columns
    german, *kinds = names.split(",")
    return Place(_noun([german, gender, german_plural, english], ("place", *kinds)), *prepositions)


def _verb(columns: list[str]) -> Verb:
    prefixed, stem, participle, english, english_past, objects = columns
    prefix, infinitive = prefixed.split("|") if "|" in prefixed else ("", prefixed)
    cases = re.fullmatch(r"(@(?P<dat>[a-z,]+))?\+?(?P<acc>[a-z,]+)?[->~]*", objects)
    assert cases, objects
    return Verb(
        prefix,
        infinitive,
        "" if stem == "-" else stem,
        participle.strip("+"),
        "sein" if participle.startswith("+") else "haben",
        english.replace("_", " "),
        past(english) if english_past == "-" else english_past.replace("_", " "),
        tuple((cases["dat"] or "").split(",")) if cases["dat"] else (),
        tuple((cases["acc"] or "").split(",")) if cases["acc"] else (),
        ">" in objects,
        "~" not in objects,
    )


def _adjective(words: str) -> Adjective:
    german, english = words.split()
    # müde -> müd, teuer -> teur, dunkel -> dunkl: an unstressed e goes before an ending
    stem = re.sub("(?<=[^aeiouäöü])e$|e(?=l$)|(?<=eu)e(?=r$)", "", german)
    return Adjective(german, stem, english)


def _cells(table: str) -> list[list[str]]:
    lines = table.strip().splitlines()
    return [cell.split() for line in lines for cell in line.split(" | ") if cell.strip()]


NOUNS = [_noun(cell, (kind,)) for kind, table in _NOUNS.items() for cell in _cells(table)]
PLACES = [_place(cell) for cell in _cells(_PLACES)]
VERBS = [_verb(cell) for cell in _cells(_VERBS)]
THAT_VERBS = [_verb(cell) for cell in _cells(_THAT)]
TO_VERBS = [_verb(cell) for cell in _cells(_TO)]
BELONG = _verb(["gehören", "-", "gehört", "belong_to", "belonged_to", "@person~"])
ADJECTIVES = {
    kind: [_adjective(words) for words in table.split(",")] for kind, table in _ADJECTIVES.items()
}
