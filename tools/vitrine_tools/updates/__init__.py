"""Updates of locks from the host's side: manifests, bringing them there, and rollouts (SPEC.md section 20)."""
