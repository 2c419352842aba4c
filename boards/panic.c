// MicroPython's panic handler says where to report a crash. ESP-IDF leaves this function out where panics are silent
// (CONFIG_ESP_SYSTEM_PANIC_SILENT_REBOOT), which a lock's are: a stack has keys in it.
void panic_print_str(const char *str);

void panic_print_str(const char *str) {
    (void)str;
}
