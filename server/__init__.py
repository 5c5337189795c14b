"""Accepting associations: the listener, who may associate, the services, and the archive behind them."""
