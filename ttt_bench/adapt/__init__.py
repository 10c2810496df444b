"""Adapting one network with one method: session, context, protocols."""
