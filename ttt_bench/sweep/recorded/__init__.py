"""What manifests state about the parts of a run."""
