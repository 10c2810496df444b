"""What a results folder states about its source models: their data, and which cells use them."""
