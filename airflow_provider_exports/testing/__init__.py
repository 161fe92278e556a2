"""For tests of DAGs and of vendors: a pytest plugin around the simulator."""
