"""What an installed package brings for other programs: dashboards and rules."""
