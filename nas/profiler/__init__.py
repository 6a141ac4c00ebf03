"""What a network costs: computed on the meta device (`cost`), timed on a real one (`measure`)."""
