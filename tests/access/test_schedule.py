"""vitrine.access.schedule: local time from Unix seconds, and weekly windows. Many more zones: host_schedule.py."""

from support import given, ints, raises, texts
from vitrine.access.schedule import HOLIDAY, MAX_ZONE_SIZE, Calendar, Zone, ZoneError, parse_windows

SUNDAY, MONDAY, FRIDAY, SATURDAY = 1, 2, 32, 64
HOUR = 3600
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"


def days(year, month, day):
    """Days since 1970-01-01, counted one year and one month at a time."""
    count = 0
    for y in range(1970, year):
        count += 366 if _leap(y) else 365
    for m in range(1, month):
        count += 29 if m == 2 and _leap(year) else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[m - 1]
    return count + day - 1


def _leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def at(year, month, day, hour=0, minute=0, second=0):
    return days(year, month, day) * 86_400 + hour * HOUR + minute * 60 + second


def test_utc():
    zone = Zone("UTC0")
    assert zone.local(0) == (16, 0)  # Thursday
    assert zone.local(at(2026, 2, 1, 23, 59, 59)) == (SUNDAY, 1439)
    assert zone.local(at(2026, 2, 2)) == (MONDAY, 0)
    assert zone.local(-1) == (8, 1439)


def test_the_nights_of_the_change_in_berlin():
    zone = Zone(BERLIN)
    spring = at(2026, 3, 29, 1)  # 02:00 becomes 03:00
    assert zone.local(spring - 1) == (SUNDAY, 119)
    assert zone.local(spring) == (SUNDAY, 180)
    autumn = at(2026, 10, 25, 1)  # 03:00 becomes 02:00
    assert zone.local(autumn - 1) == (SUNDAY, 179)
    assert zone.local(autumn) == (SUNDAY, 120)
    # asked in any order: the zone remembers a period, not a time
    assert zone.offset_s(spring) == 2 * HOUR and zone.offset_s(autumn) == HOUR
    assert zone.offset_s(spring - 1) == HOUR and zone.offset_s(autumn - 1) == 2 * HOUR


def test_zone_forms():
    summer, winter = at(2026, 7, 1), at(2026, 1, 1)
    for text, in_winter, in_summer in (
        ("EST5EDT,M3.2.0,M11.1.0", -5 * HOUR, -4 * HOUR),
        ("<-03>3", -3 * HOUR, -3 * HOUR),
        ("<+0330>-3:30", 12_600, 12_600),
        ("<+0545>-5:45", 20_700, 20_700),
        ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 11 * HOUR, 37_800),  # Lord Howe: half an hour, and in the south
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", 13 * HOUR, 12 * HOUR),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", 0, HOUR),  # Dublin: the summer is the standard time
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", -2 * HOUR, -HOUR),  # Nuuk: the evening before
        ("IST-2IDT,M3.4.4/26,M10.5.0", 2 * HOUR, 3 * HOUR),  # Jerusalem: 26:00 on Thursday
        ("XXX+3:30:15", -12_615, -12_615),
        ("AAA-24", 86_400, 86_400),
        ("AAA24BBB,J1,J365", -86_400, -86_400 + HOUR),  # there it is still 31 December
        ("EET-2EEST,J60/0,299/0", 2 * HOUR, 3 * HOUR),
        ("EST5EDT4,0/0,J365/25", -4 * HOUR, -4 * HOUR),  # summer all year (RFC 9636 section 3.3.1)
    ):
        zone = Zone(text)
        assert (zone.offset_s(winter + 10 * HOUR), zone.offset_s(summer)) == (in_winter, in_summer), text


def test_julian_days():
    # J60 is 1 March in any year, 59 is 29 February in a leap year and 1 March otherwise
    for year, first in ((2027, (3, 1)), (2028, (3, 1))):
        start = at(year, first[0], first[1])
        zone = Zone("UTC0XXX,J60/0,J300")
        assert (zone.offset_s(start - 1), zone.offset_s(start)) == (0, HOUR)
    for year, first in ((2027, (3, 1)), (2028, (2, 29)), (2100, (3, 1))):
        start = at(year, first[0], first[1])
        zone = Zone("UTC0XXX,59/0,300")
        assert (zone.offset_s(start - 1), zone.offset_s(start)) == (0, HOUR)
    start = at(2028, 2, 28)
    zone = Zone("UTC0XXX,J59/0,J300")
    assert (zone.offset_s(start - 1), zone.offset_s(start)) == (0, HOUR)


def test_times_outside_the_day():
    zone = Zone("UTC0XXX,M3.5.0/-167,M10.5.0/167")
    start = at(2026, 3, 29) - 167 * HOUR
    end = at(2026, 10, 25) + 166 * HOUR
    assert [zone.offset_s(t) for t in (start - 1, start, end - 1, end)] == [0, HOUR, HOUR, 0]
    # changes that fall into the neighbouring years
    zone = Zone("UTC0XXX,J365/167,J180/0")
    start = at(2027, 1, 6) + 23 * HOUR  # 31 December 2026 and 167 h
    assert [zone.offset_s(t) for t in (start - 1, start)] == [0, HOUR]


def test_last_week_of_the_month():
    # October 2027 has five Sundays, the last on the 31st; February 2026 has four, the last on the 22nd
    zone = Zone("UTC0XXX,M2.5.0/0,M10.5.0/1")
    for change, before, after in ((at(2026, 2, 22), 0, HOUR), (at(2027, 10, 31), HOUR, 0)):
        assert (zone.offset_s(change - 1), zone.offset_s(change)) == (before, after)
    zone = Zone("UTC0XXX,M3.1.0/0,M12.5.5/1")
    for change, before, after in ((at(2026, 3, 1), 0, HOUR), (at(2027, 12, 31), HOUR, 0)):
        assert (zone.offset_s(change - 1), zone.offset_s(change)) == (before, after)


def test_beyond_2038_and_2106():
    zone = Zone(BERLIN)
    assert zone.local(at(2040, 7, 1, 10)) == (SUNDAY, 720)
    assert zone.local(at(2110, 1, 1, 10)) == (8, 660)


BAD = (
    "",
    "A",
    "UT0",
    "UTC",
    "UTC+",
    "UTC0 ",
    " UTC0",
    "UTC0\n",
    "5",
    "-5",
    "UTC25",
    "UTC0:60",
    "UTC0:0:60",
    "UTC0:",
    "UTC0:0:",
    "UTC1000",
    "U1C0",
    "<UTC0",
    "<U>0",
    "<UTC>",
    "<UT C>0",
    "<UTC>0<",
    "<<UTC>>0",
    ":Europe/Berlin",
    "Europe/Berlin",
    "CET-1CEST",
    "CET-1CEST,",
    "CET-1CEST,M3.5.0",
    "CET-1CEST,M3.5.0,",
    "CET-1CEST,M3.5.0,M10.5.0/",
    "CET-1CEST,M3.5.0,M10.5.0/3x",
    "CET-1CEST,M3.5.0,M10.5.0,M3.5.0",
    "CET-1CEST,M3.5.0/168,M10.5.0",
    "CET-1CEST,M3.5.0/-168,M10.5.0",
    "CET-1CEST,M0.5.0,M10.5.0",
    "CET-1CEST,M13.5.0,M10.5.0",
    "CET-1CEST,M3.0.0,M10.5.0",
    "CET-1CEST,M3.6.0,M10.5.0",
    "CET-1CEST,M3.5.7,M10.5.0",
    "CET-1CEST,M3.5,M10.5.0",
    "CET-1CEST,M3,M10.5.0",
    "CET-1CEST,M,M10.5.0",
    "CET-1CEST,m3.5.0,m10.5.0",
    "CET-1CEST,J0,J300",
    "CET-1CEST,J366,J300",
    "CET-1CEST,366,300",
    "CET-1CEST,-1,300",
    "CET-1CE,M3.5.0,M10.5.0",
    "CET-1CEST,M3.5.0;M10.5.0",
    "CET\u0661",
    "UTC\u00b2",
    "\u00c4\u00d6\u00dc0",
    "A" * 48 + "0",
)


def test_bad_zones():
    for text in BAD:
        try:
            Zone(text)
        except ZoneError:
            continue
        raise AssertionError("accepted: " + text)
    for value in (None, 0, b"UTC0", ["UTC0"]):
        with raises(ZoneError):
            Zone(value)
    Zone("A" * (MAX_ZONE_SIZE - 1) + "0")


@given(texts(0, 50), examples=300)
def test_any_text(text):
    try:
        Zone(text)
    except ZoneError:
        return


@given(ints(0, 60), ints(32, 126), examples=500)
def test_a_changed_zone_works_or_is_refused(index, code):
    text = BERLIN[: index % len(BERLIN)] + chr(code) + BERLIN[index % len(BERLIN) + 1 :]
    try:
        zone = Zone(text)
    except ZoneError:
        return
    bit, minute = zone.local(at(2026, 7, 1))
    assert bit in (1, 2, 4, 8, 16, 32, 64) and 0 <= minute < 1440


def is_open(windows, weekday_bit, minute):
    """Tell whether `windows` are open at a minute of a day of a week without holidays."""
    weekday = (1, 2, 4, 8, 16, 32, 64).index(weekday_bit)
    sunday = at(2026, 2, 1)
    return Calendar(Zone("UTC0"), ()).is_open(windows, sunday + weekday * 86_400 + minute * 60)


def test_windows():
    shop = [[62, 540, 1050]]  # Monday to Friday, 09:00 to 17:30
    for bit, minute, is_inside in (
        (MONDAY, 539, False),
        (MONDAY, 540, True),
        (MONDAY, 1049, True),
        (MONDAY, 1050, False),
        (FRIDAY, 700, True),
        (SATURDAY, 700, False),
        (SUNDAY, 700, False),
    ):
        assert is_open(shop, bit, minute) is is_inside


def test_windows_over_midnight_belong_to_the_day_they_start_on():
    late = [[SATURDAY, 1320, 120]]  # Saturday 22:00 to Sunday 02:00
    for bit, minute, is_inside in (
        (SATURDAY, 1319, False),
        (SATURDAY, 1320, True),
        (SATURDAY, 1439, True),
        (SUNDAY, 0, True),
        (SUNDAY, 119, True),
        (SUNDAY, 120, False),
        (SATURDAY, 0, False),
        (SUNDAY, 1320, False),
        (MONDAY, 0, False),
    ):
        assert is_open(late, bit, minute) is is_inside
    # the week is a circle
    assert is_open([[SUNDAY, 1320, 120]], MONDAY, 60) and not is_open([[SUNDAY, 1320, 120]], SUNDAY, 60)


def test_whole_days_and_borders():
    assert is_open([[SUNDAY, 0, 1440]], SUNDAY, 0) and is_open([[SUNDAY, 0, 1440]], SUNDAY, 1439)
    assert not is_open([[SUNDAY, 0, 1440]], MONDAY, 0)
    # end = start: 24 hours
    for minute in (0, 700, 1439):
        assert is_open([[SUNDAY, 0, 0]], SUNDAY, minute) and not is_open([[SUNDAY, 0, 0]], MONDAY, minute)
    assert is_open([[SUNDAY, 600, 600]], MONDAY, 599) and not is_open([[SUNDAY, 600, 600]], MONDAY, 600)
    assert not is_open([[SUNDAY, 600, 600]], SUNDAY, 599)
    # start 1440 is midnight of the next day
    assert is_open([[SUNDAY, 1440, 60]], MONDAY, 0) and not is_open([[SUNDAY, 1440, 60]], SUNDAY, 1439)
    assert not is_open([], SUNDAY, 0)


def test_any_one_window_is_enough():
    windows = [[MONDAY, 0, 60], [FRIDAY, 60, 120]]
    assert is_open(windows, FRIDAY, 60) and is_open(windows, MONDAY, 59) and not is_open(windows, FRIDAY, 59)


@given(ints(1, 127), ints(0, 1440), ints(0, 1440), examples=200)
def test_windows_against_minutes_of_the_week(mask, start, end):
    """The definition: from `start` on a day of the mask until the next time the clock shows `end`."""
    length = end - start if end > start else end - start + 1440
    inside = set()
    for day in range(7):
        if mask >> day & 1:
            inside.update((day * 1440 + start + n) % 10_080 for n in range(length))
    for week_minute in range(0, 10_080, 37):
        day, minute = week_minute // 1440, week_minute % 1440
        assert is_open([[mask, start, end]], 1 << day, minute) == (week_minute in inside)


def test_a_holiday_takes_the_place_of_its_weekday():
    holidays = [[days(2026, 12, 24), 3]]  # Thursday to Saturday
    calendar = Calendar(Zone("UTC0"), holidays)
    shop = [[127, 540, 1050]]
    on_holidays = [[HOLIDAY, 600, 840]]
    for day in range(20, 31):
        is_holiday = 24 <= day <= 26
        assert (calendar.day_bit(days(2026, 12, day)) == HOLIDAY) is is_holiday
        for hour, shop_is_open, late_is_open in ((8, False, False), (10, True, True), (15, True, False)):
            now_s = at(2026, 12, day, hour)
            assert calendar.is_open(shop, now_s) is (shop_is_open and not is_holiday), (day, hour)
            assert calendar.is_open(on_holidays, now_s) is (late_is_open and is_holiday), (day, hour)
            assert calendar.is_open(shop + on_holidays, now_s) is (late_is_open if is_holiday else shop_is_open)


def test_windows_over_midnight_and_holidays():
    # Friday 2026-12-25 is a holiday, the days around it are not
    calendar = Calendar(Zone("UTC0"), [[days(2026, 12, 25), 1]])
    every_night = [[127, 1320, 120]]
    holiday_night = [[HOLIDAY, 1320, 120]]
    for day, hour, every, holiday in (
        (24, 23, True, False),
        (25, 1, True, False),  # began on Thursday
        (25, 23, False, True),
        (26, 1, False, True),  # began on the holiday
        (26, 23, True, False),
        (27, 1, True, False),
    ):
        now_s = at(2026, 12, day, hour)
        assert calendar.is_open(every_night, now_s) is every, (day, hour)
        assert calendar.is_open(holiday_night, now_s) is holiday, (day, hour)


def test_holidays_are_local_dates():
    holidays = [[days(2026, 12, 25), 1]]
    window = [[HOLIDAY, 0, 1440]]
    for zone, start in (
        ("UTC0", at(2026, 12, 25)),
        (BERLIN, at(2026, 12, 24, 23)),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", at(2026, 12, 24, 11)),
        ("EST5EDT,M3.2.0,M11.1.0", at(2026, 12, 25, 5)),
    ):
        calendar = Calendar(Zone(zone), holidays)
        for now_s, expected in ((start - 1, False), (start, True), (start + 86_399, True), (start + 86_400, False)):
            assert calendar.is_open(window, now_s) is expected, (zone, now_s - start)


def test_a_holiday_has_23_hours_where_the_clock_changes():
    calendar = Calendar(Zone(BERLIN), [[days(2026, 3, 29), 1]])
    start = at(2026, 3, 28, 23)
    opened = [calendar.is_open([[HOLIDAY, 0, 1440]], start + n * 60) for n in range(-60, 24 * 60 + 60)]
    assert opened.count(True) == 23 * 60
    # 02:30 is not there that night, 02:30 of the autumn is there twice
    night = [[SUNDAY, 150, 151]]
    plain = Calendar(Zone(BERLIN), ())
    for day, times in ((at(2026, 3, 29), 0), (at(2026, 10, 25), 2), (at(2026, 11, 1), 1)):
        assert [plain.is_open(night, day + n * 60) for n in range(-120, 300)].count(True) == times


@given(ints(0, 30), ints(1, 31), ints(1, 255), ints(0, 1440), ints(0, 1440), examples=150)
def test_windows_with_holidays_against_a_list_of_days(first, count, mask, start, end):
    """The definition, day by day: a day's bit decides whether the window starts on it, and it then runs its length."""
    base = days(2026, 2, 1)
    length = end - start if end > start else end - start + 1440
    inside = set()
    for day in range(-1, 60):
        bit = HOLIDAY if first <= day < first + count else 1 << day % 7
        if mask & bit:
            inside.update(range(day * 1440 + start, day * 1440 + start + length))
    calendar = Calendar(Zone("UTC0"), [[base + first, count]])
    for minute in range(0, 59 * 1440, 191):
        expected = minute in inside
        assert calendar.is_open([[mask, start, end]], base * 86_400 + minute * 60) == expected, minute


def test_form_of_windows():
    for good in ([], [[1, 0, 0]], [[255, 1440, 1440]], [[128, 0, 1]] * 4):
        assert parse_windows(good, 0, 4) == good
    for bad in (
        None,
        {},
        b"",
        [[1, 0, 0]] * 5,
        [1, 0, 0],
        [[1, 0]],
        [[1, 0, 0, 0]],
        [[0, 0, 0]],
        [[256, 0, 0]],
        [[-1, 0, 0]],
        [[1, 1441, 0]],
        [[1, 0, 1441]],
        [[1, -1, 0]],
        [[1, 0, -1]],
        [[True, 0, 0]],
        [[1, False, 0]],
        [[1, 0, None]],
        [(1, 0, 0)],
    ):
        with raises(ValueError):
            parse_windows(bad, 0, 4)
    with raises(ValueError):
        parse_windows([], 1, 4)
