//! containers of one node: images, snapshots, bundles, logs and the shims that run them.
