"""Descriptions of methods, made from their code: card, options and numbers of parameters."""
