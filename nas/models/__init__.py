"""The networks: torch only. `network.build` turns an architecture into a module, a `chain.Chain` of
its parts.
"""
