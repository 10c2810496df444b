"""Studies: groups of cells that vary one thing, and what is concluded from them."""
