"""Steps on this machine's processor: the models that the prior is fitted to, and those that it is reported on."""
