"""HTML pages for people; plotly.js comes from the installed package.

shell.py shell.html style.css charts.js   the frame and the theme of all of them
page.py sections.*                        one HTML file of sections, each a table, a plot or both
plots.py                                  the figures in them
training_page.py backtest_page.py         how a candidate was judged; all models on a log
try_page.py speed_page.py                 forecasts with other covariates; what a forecast costs
demo.*                                    the page that `tidecast demo` writes
live.*                                    the page that `tidecast api` serves
"""
