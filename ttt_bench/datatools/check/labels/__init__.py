"""Find label maps that were changed: resized like pictures, lowered by one, or mixed up."""
