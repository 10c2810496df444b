"""Tables of the settings of methods: numbers of parameters and hyperparameters."""
