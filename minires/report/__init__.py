"""Floor 6: a run as one page of HTML that can be mailed: no script, no outside request, pictures inside.

markup      text that is escaped unless it is markup already     pictures   arrays as pictures in the page
charts      drawings as SVG in the page                          page       the page itself
facts       what a page is made of                               sections   its parts
"""

from minires.report.facts import Facts, Sample
from minires.report.page import render

__all__ = ["Facts", "Sample", "render"]
