"""The fleet: from measured hosts to a population, with honest intervals."""
