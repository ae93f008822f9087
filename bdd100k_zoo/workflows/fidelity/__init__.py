"""The proof that two backends find the same boxes: with drawn weights, in drawn images, each in its environment."""
