import unittest

from greeting import html


class Greeting(unittest.TestCase):
    def test_the_page_greets(self):
        self.assertIn("<h1>Good morning</h1>", html("Good morning"))
