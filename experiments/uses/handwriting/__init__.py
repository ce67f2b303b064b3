"""Many to many, and generation of real numbers: where does the pen go next?"""
