"""Pages for people: one HTML file each, with everything in it, plotly.js of the installed wheel included.

page.py           a page of sections, each a table, a plot or both
training_page.py  how a candidate was judged
page.html         the frame of them
"""
