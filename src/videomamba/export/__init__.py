"""Networks for other programs: one graph of the network, a file of another format from it, and the proof that both agree."""
