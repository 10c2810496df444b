"""The launcher `slurm`: workers as tasks of a Slurm job array, submitted by submitit."""
