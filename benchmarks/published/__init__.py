"""The published ways of doing what litemkd does, written plainly: what the benchmarks compare with.

They compute what TRX's and Lite-MKD's public code computes, in its way: frames from folders of JPEGs, the
backbone called on support and query, tuples concatenated and projected one by one, loops over classes and
queries, every clip of an episode encoded anew, one request a metric.
"""
