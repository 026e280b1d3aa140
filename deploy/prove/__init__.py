"""Proofs of what an operator applies, by the real programs. Each step yields sentences that it has seen to be true."""
