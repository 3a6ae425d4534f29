# SPDX-License-Identifier: Apache-2.0
"""C identifiers for models, layers and buffers."""

from __future__ import annotations

import re

from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir

_KEYWORDS = """
    alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double
    else enum explicit export extern false float for friend goto if inline int long mutable namespace new not
    nullptr operator or private protected public register restrict return short signed sizeof static struct switch
    template this throw true try typedef typeid typename typeof union unsigned using virtual void volatile while xor
    linux unix
"""
#: What the generated code itself calls something.
_OWN = "main arena input output mode observer observe data index bytes context at bits"
#: The C library: compilers know its functions without a header and reject other things of the same name.
_LIBRARY = """
    abort abs acos acosh alloca asin asinh assert atan atan2 atanh atexit atof atoi atol atoll bcmp bcopy bsearch
    bzero calloc cbrt ceil clearerr clock copysign cos cosh ctime difftime div erf erfc errno exit exp exp10 exp2
    expm1 fabs fclose fdim feof ferror fflush ffs fgetc fgetpos fgets floor fma fmax fmin fmod fopen fprintf fputc
    fputs fread free freopen frexp fscanf fseek fsetpos ftell fwrite gamma getc getchar getenv gets gmtime hypot
    ilogb index isalnum isalpha isascii isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper
    isxdigit j0 j1 jn labs ldexp ldiv lgamma llabs lldiv llrint llround localeconv localtime log log10 log1p log2
    logb longjmp lrint lround malloc mblen mbtowc memchr memcmp memcpy memmove mempcpy memset mktime modf nan
    nearbyint nextafter nexttoward null offsetof perror pow pow10 printf putc putchar puts qsort raise rand realloc
    remainder remove remquo rename rewind rindex rint round scalb scalbln scalbn scanf setbuf setjmp setlocale
    setvbuf signal signbit significand sin sincos sinh snprintf sprintf sqrt srand sscanf stderr stdin stdout stpcpy
    stpncpy strcasecmp strcat strchr strcmp strcoll strcpy strcspn strdup strerror strftime strlen strncasecmp
    strncat strncmp strncpy strndup strpbrk strrchr strspn strstr strtod strtof strtok strtol strtold strtoll
    strtoul strtoull strxfrm system tan tanh tgamma time tmpfile tmpnam toascii tolower toupper trunc ungetc
    vfprintf vfscanf vprintf vscanf vsnprintf vsprintf vsscanf wctomb y0 y1 yn
"""
#: Headers of C and newlib that a model's own header would hide, as it is found first.
_HEADERS = """
    alloca assert complex ctype dirent errno fcntl fenv float getopt glob grp iconv inttypes iso646 limits link
    locale malloc math memory newlib poll process pthread pwd reent regex sched search semaphore setjmp signal spawn
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tar termios tgmath
    threads time uchar unistd utime wchar wctype
"""
#: What no generated identifier may be.
_RESERVED = frozenset(f"{_KEYWORDS} {_OWN} {_LIBRARY}".split())
#: What every C11 compiler tells apart.
_LONGEST = 63


def identifier(name: str) -> str:
    """A C identifier that resembles `name`: `block1/conv:0` becomes `block1_conv_0`."""
    words = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower()[: _LONGEST - len("l_")].rstrip("_") or "x"
    if words[0].isdigit() or words in _RESERVED or words.startswith(("acs_", "arm_")) or words.endswith("_t"):
        words = f"l_{words}"
    return words


def model_identifier(name: str) -> str:
    """The prefix of everything public that a model defines, and the name of its header.

    A fixed point: a model's C name is its own identifier.
    """
    result = re.sub(r"^l_(?=acs_|arm_)", "", identifier(name))
    if result.startswith(("acs_", "arm_")) or result in ("acs", "arm"):
        raise AcsgenError(f"model name '{name}': acs and arm belong to the runtime and CMSIS-NN; give --name")
    if result in _HEADERS.split() or f"{result}.h" in _own_headers():
        raise AcsgenError(f"model name '{name}': its header {result}.h would hide another of that name; give --name")
    return result


def _own_headers() -> set[str]:
    """The headers of the runtime, the kernels and the application."""
    return {"app_model.h", *(path.name for path in resource_dir("firmware").rglob("*.h"))}


class Names:
    """Hands out identifiers so that no two things in one file get the same, nor one that is the model's own."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._given: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The identifier of `name`; the same again for the same name."""
        if name not in self._given:
            base = candidate = identifier(name)
            if f"{base}_".startswith(f"{self._model}_"):
                base = candidate = f"l_{base}"
            count = 1
            while candidate in self._given.values():
                count += 1
                candidate = f"{base}_{count}"
            self._given[name] = candidate
        return self._given[name]
