"""How models are fitted: the history that they learn from, its sums, the fits, and their errors."""
