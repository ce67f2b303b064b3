"""Many to one: does a sentence speak well of a thing?"""
