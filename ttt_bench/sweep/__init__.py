"""From a request to finished cells: resolve, plan, run."""
