"""What a device's shell reads of its state, five times a second, and what that text holds.

POSIX sh with what Debian, BusyBox and Android's toybox share, and few processes of its own: what watches a timing must
not slow it. Costly tools speak once before and once after; NVIDIA's own runs beside the loop until it is ended, so each
of its lines has to be out by then.
"""

from collections.abc import Mapping, Sequence
from statistics import median

REASONS = ("clocks_throttle_reasons.active", "clocks_event_reasons.active")  # the old name, and the new one
NVIDIA = ("index", "utilization.gpu", "clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw")
SCRIPT = f"""
say() {{ [ -r "$2" ] && read -r value <"$2" && echo "$1 $value"; }} 2>/dev/null
known() {{ value=; say . "$1"; }} >/dev/null
rails() {{
  for chip in "$0"/sys/class/hwmon/hwmon*; do
    known "$chip/name"; case $value in ina3221*) ;; *) continue ;; esac
    for rail in 1 2 3; do
      known "$chip/in${{rail}}_label"; case $value in *_IN) what=input ;; *) what=rail ;; esac
      [ -r "$chip/in${{rail}}_input" ] && say "${{what}}_ma" "$chip/curr${{rail}}_input" &&
        say "${{what}}_mv" "$chip/in${{rail}}_input"
    done
  done
}}
snapshot() {{
  echo snapshot
  say uptime "$0/proc/uptime"; say ticks "$0/proc/stat"
  say pressure "$0/proc/pressure/cpu"; say memory_pressure "$0/proc/pressure/memory"
  for cpu in "$0"/sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
    say frequency_khz "$cpu/scaling_cur_freq"; say max_khz "$cpu/cpuinfo_max_freq"
    say governor "$cpu/scaling_governor"
  done
  for gpu in "$0"/sys/class/devfreq/*; do
    case ${{gpu##*/}} in *gpu* | *.g[apv]1[01]b | *kgsl* | *mali*) ;; *) continue ;; esac
    say gpu_hz "$gpu/cur_freq"; say gpu_max_hz "$gpu/max_freq"; say gpu_load "$gpu/device/load"
  done
  for zone in "$0"/sys/class/thermal/thermal_zone*; do say zone_mc "$zone/temp"; done
  say capped "$0/sys/devices/platform/soc/soc:firmware/get_throttled"
  for domain in "$0"/sys/class/powercap/intel-rapl:[0-9]; do
    known "$domain/name"; [ "$value" = psys ] && continue
    say energy_uj "$domain/energy_uj" && say range_uj "$domain/max_energy_range_uj"
  done
  for battery in "$0"/sys/class/power_supply/[Bb][Aa][Tt]*; do
    say battery "$battery/status"; say battery_ua "$battery/current_now"; say battery_uv "$battery/voltage_now"
  done
  rails
}}
modes() {{
  command -v nvpmodel >/dev/null && echo "power_mode $(timeout 10 nvpmodel -q | head -n 1)"
  command -v dumpsys >/dev/null && echo "thermal_status $(timeout 10 dumpsys thermalservice | grep 'Thermal Status:')"
}} 2>/dev/null </dev/null
nvidia() {{
  command -v nvidia-smi >/dev/null || return
  command -v stdbuf >/dev/null && by_line="stdbuf -oL"
  for reasons in {" ".join(REASONS)}; do
    query="--query-gpu={",".join(NVIDIA)},$reasons --format=csv,noheader,nounits"
    timeout 20 nvidia-smi $query >"$2.gpu" && {{ $by_line nvidia-smi $query -lms 200 >>"$2.gpu" & beside=$!; return; }}
  done
}} 2>/dev/null </dev/null
snapshot; modes; nvidia "$@"
left=$1
while [ "$left" -gt 0 ] && [ ! -e "$2" ]; do
  snapshot; left=$((left - 1)); sleep "$3" 2>/dev/null || sleep 1
done
snapshot; modes
[ -z "$beside" ] || kill "$beside"
[ ! -e "$2.gpu" ] || while read -r line; do echo "nvidia $line"; done <"$2.gpu"
rm -f "$2.gpu"
"""
Reading = Mapping[str, Sequence[str]]


def readings(text: str) -> list[Reading]:
    """What the script wrote: one reading per snapshot, the words behind each key in order."""
    return [_reading(part) for part in text.split("snapshot\n")[1:]]


def _reading(text: str) -> Reading:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())
    return found


def words(readings: Sequence[Reading], key: str) -> list[str]:
    """All that was said behind a key, in order of time."""
    return [word for reading in readings for word in reading.get(key, ())]


def numbers(reading: Reading, key: str) -> list[float]:
    """The whole numbers behind a key."""
    return [float(value) for value in reading.get(key, ()) if value.lstrip("-").isdigit()]


def highest(reading: Reading, key: str, unit: float) -> float | None:
    """The largest number behind a key, times its unit."""
    return max((unit * value for value in numbers(reading, key)), default=None)


def known(values: Sequence[float | None]) -> list[float]:
    """Those that are there."""
    return [value for value in values if value is not None]


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that are there."""
    return median(known(values)) if known(values) else None
