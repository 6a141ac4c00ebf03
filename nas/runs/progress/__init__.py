"""What a search shows while it trains.

display   its lines and bars
standing  where it stands, in numbers
news      lines, events and signs of life, of long commands of every kind
"""
