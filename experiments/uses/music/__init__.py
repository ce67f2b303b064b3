"""Many to many, and generation: which notes sound next?"""
