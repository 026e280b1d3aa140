"""Pages for people, plotly.js of the installed wheel included.

shell.py shell.html style.css charts.js   the frame and the theme of all of them
page.py sections.*                        one HTML file of sections, each a table, a plot or both
training_page.py backtest_page.py         how a candidate was judged; all models on a log
demo.*                                    what `tidecast demo` leaves
live.*                                    what `tidecast api` serves
"""
