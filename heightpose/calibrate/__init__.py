"""Camera calibration and the printed targets for it: boards, choice of views, lens fit, checks, pages to print."""
