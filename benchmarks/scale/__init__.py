"""What many processes cost their servers, measured with a few dozen, and the formula from it to very many."""
