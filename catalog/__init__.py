"""What is sold: providers, hosts, models, routes and prices."""
