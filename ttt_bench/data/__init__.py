"""Domains, pairs and the data sets behind them."""
