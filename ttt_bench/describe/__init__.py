"""What a method says about itself: its card, options and parameter counts."""
