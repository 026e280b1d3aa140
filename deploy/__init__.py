"""What an operator applies, and the code that makes or proves it. The product imports none of it."""
