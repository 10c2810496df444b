"""What a method declares as data: its options, hyperparameters and card.

Import these names from `ttt_bench.adapter`.
"""
