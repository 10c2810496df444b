"""Commands about data sets and domain pairs."""
