"""How long a planned sweep takes, predicted from measured cells and trainings."""
