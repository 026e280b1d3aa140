"""Pages for people, plotly.js of the installed wheel included.

shell.py shell.html style.css charts.js   the frame and the theme of all of them
page.py sections.*                        one HTML file of sections, each a table, a plot or both
plots.py                                  the figures in them
training_page.py backtest_page.py         how a candidate was judged; all models on a log
try_page.py speed_page.py                 what a model makes of the newest windows; what a forecast costs
demo.*                                    what `tidecast demo` leaves
live.*                                    what `tidecast api` serves
"""
