/* Windows' ICU, which Wine 8 lacks: it knows no encoding, and Qt has those that it needs of its own. */
#define EXPORT __declspec(dllexport)
enum { U_FILE_ACCESS_ERROR = 4 };

EXPORT void *ucnv_open(const char *name, int *error) { (void)name; *error = U_FILE_ACCESS_ERROR; return 0; }
EXPORT const char *ucnv_getName(void *converter, int *error) { (void)converter; *error = U_FILE_ACCESS_ERROR; return 0; }
EXPORT int ucnv_countAvailable(void) { return 0; }
EXPORT const char *ucnv_getAvailableName(int n) { (void)n; return 0; }

/* Asked of converters alone, of which there is none. */
#define NONE(name) EXPORT int name(void) { return 0; }
NONE(ucnv_close) NONE(ucnv_reset) NONE(ucnv_getMaxCharSize) NONE(ucnv_getStandardName)
NONE(ucnv_toUnicode) NONE(ucnv_fromUnicode) NONE(ucnv_toUCountPending) NONE(ucnv_fromUCountPending)
NONE(ucnv_getToUCallBack) NONE(ucnv_getFromUCallBack) NONE(ucnv_setToUCallBack) NONE(ucnv_setFromUCallBack)
NONE(ucnv_cbToUWriteUChars) NONE(ucnv_cbFromUWriteUChars)
NONE(UCNV_TO_U_CALLBACK_SUBSTITUTE) NONE(UCNV_FROM_U_CALLBACK_SUBSTITUTE)
