"""How good a method is: the benchmarks' metrics, what they judge, and the report."""
