"""How well the energy of a shared GPU is split among jobs that draw unlike watts, beside a truth that is known."""
