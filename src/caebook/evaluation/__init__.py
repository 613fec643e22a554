"""How good a reconstruction is: measures, and how sure a number is."""
