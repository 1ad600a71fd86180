"""What is stale: data versions, fingerprints of the study, and what was materialized from what."""
