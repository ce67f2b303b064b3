"""What recurrent networks are used for, each in a file of its own."""
