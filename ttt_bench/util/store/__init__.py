"""Results in a store that fsspec knows (`s3://`, `gs://`): a local mirror, and claims in the store.

All code works on local paths. For a URL this is a folder of the cache, the mirror. `mirror.fetch`
brings it up to date before files are read, `mirror.publish` uploads what was written, and both do
nothing for a path outside a mirror.
"""
