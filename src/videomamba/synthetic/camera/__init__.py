"""A virtual camera over real pictures and footage: videos whose camera motion, cuts and fades are known."""
